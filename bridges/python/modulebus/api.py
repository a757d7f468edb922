"""The Module API, by Synapse's names. Generated from schemas/: do not edit."""

from __future__ import annotations

from typing import Any

from .caller import Caller
from .messages import *  # noqa: F403


class ModuleApi(Caller):
    """Calls the homeserver. Each method raises MatrixError when the homeserver refuses the call, NoHomeserver when there is
    none that can be called, and TimeoutError."""

    async def properties(self) -> PropertiesResponse:
        """Properties returns the values that are properties of Synapse's ModuleApi."""
        request = PropertiesRequest()
        reply: PropertiesResponse = await self.call("properties", request)
        return reply

    async def get_userinfo_by_id(self, *, user_id: str) -> GetUserinfoByIdResponse:
        """GetUserinfoById returns what the homeserver knows about a local user."""
        request = GetUserinfoByIdRequest(user_id=user_id)
        reply: GetUserinfoByIdResponse = await self.call("get_userinfo_by_id", request)
        return reply

    async def get_user_by_req(self, *, access_token: str, allow_guest: bool = False, allow_expired: bool = False, ip: str | None = None, user_agent: str | None = None) -> GetUserByReqResponse:
        """GetUserByReq returns the user of an access token, as if the user had made a request with it."""
        request = GetUserByReqRequest(access_token=access_token, allow_guest=allow_guest, allow_expired=allow_expired, ip=ip, user_agent=user_agent)
        reply: GetUserByReqResponse = await self.call("get_user_by_req", request)
        return reply

    async def is_user_admin(self, *, user_id: str) -> IsUserAdminResponse:
        """IsUserAdmin returns whether a local user is a server admin."""
        request = IsUserAdminRequest(user_id=user_id)
        reply: IsUserAdminResponse = await self.call("is_user_admin", request)
        return reply

    async def set_user_admin(self, *, user_id: str, admin: bool = False) -> SetUserAdminResponse:
        """SetUserAdmin makes a local user a server admin, or takes that away."""
        request = SetUserAdminRequest(user_id=user_id, admin=admin)
        reply: SetUserAdminResponse = await self.call("set_user_admin", request)
        return reply

    async def get_profile_for_user(self, *, localpart: str) -> GetProfileForUserResponse:
        """GetProfileForUser returns the profile of a local user."""
        request = GetProfileForUserRequest(localpart=localpart)
        reply: GetProfileForUserResponse = await self.call("get_profile_for_user", request)
        return reply

    async def get_threepids_for_user(self, *, user_id: str) -> GetThreepidsForUserResponse:
        """GetThreepidsForUser returns the third-party identifiers of a local user."""
        request = GetThreepidsForUserRequest(user_id=user_id)
        reply: GetThreepidsForUserResponse = await self.call("get_threepids_for_user", request)
        return reply

    async def check_user_exists(self, *, user_id: str) -> CheckUserExistsResponse:
        """CheckUserExists returns the user ID as it is registered, whatever the case of its letters."""
        request = CheckUserExistsRequest(user_id=user_id)
        reply: CheckUserExistsResponse = await self.call("check_user_exists", request)
        return reply

    async def check_username(self, *, username: str) -> CheckUsernameResponse:
        """CheckUsername fails with M_USER_IN_USE or M_INVALID_USERNAME when a localpart cannot be registered."""
        request = CheckUsernameRequest(username=username)
        reply: CheckUsernameResponse = await self.call("check_username", request)
        return reply

    async def register_user(self, *, localpart: str, displayname: str | None = None, emails: list[str] | None = None, admin: bool = False) -> RegisterUserResponse:
        """RegisterUser registers a local user."""
        request = RegisterUserRequest(localpart=localpart, displayname=displayname, emails=emails or [], admin=admin)
        reply: RegisterUserResponse = await self.call("register_user", request)
        return reply

    async def register_device(self, *, user_id: str, device_id: str | None = None, initial_display_name: str | None = None) -> RegisterDeviceResponse:
        """RegisterDevice makes a device of a local user, with an access token."""
        request = RegisterDeviceRequest(user_id=user_id, device_id=device_id, initial_display_name=initial_display_name)
        reply: RegisterDeviceResponse = await self.call("register_device", request)
        return reply

    async def record_user_external_id(self, *, auth_provider_id: str, remote_user_id: str, registered_user_id: str) -> RecordUserExternalIdResponse:
        """RecordUserExternalId records the ID of a local user at an identity provider."""
        request = RecordUserExternalIdRequest(auth_provider_id=auth_provider_id, remote_user_id=remote_user_id, registered_user_id=registered_user_id)
        reply: RecordUserExternalIdResponse = await self.call("record_user_external_id", request)
        return reply

    async def create_login_token(self, *, user_id: str, duration_in_ms: int | None = None, auth_provider_id: str | None = None, auth_provider_session_id: str | None = None) -> CreateLoginTokenResponse:
        """CreateLoginToken makes a token with which a client can log in once."""
        request = CreateLoginTokenRequest(user_id=user_id, duration_in_ms=duration_in_ms, auth_provider_id=auth_provider_id, auth_provider_session_id=auth_provider_session_id)
        reply: CreateLoginTokenResponse = await self.call("create_login_token", request)
        return reply

    async def invalidate_access_token(self, *, access_token: str) -> InvalidateAccessTokenResponse:
        """InvalidateAccessToken logs an access token out."""
        request = InvalidateAccessTokenRequest(access_token=access_token)
        reply: InvalidateAccessTokenResponse = await self.call("invalidate_access_token", request)
        return reply

    async def complete_sso_login_async(self, *, registered_user_id: str, client_redirect_url: str, new_user: bool = False, auth_provider_id: str | None = None, ip: str | None = None, user_agent: str | None = None) -> CompleteSsoLoginAsyncResponse:
        """CompleteSsoLoginAsync returns the HTTP response that completes a login by single sign-on."""
        request = CompleteSsoLoginAsyncRequest(registered_user_id=registered_user_id, client_redirect_url=client_redirect_url, new_user=new_user, auth_provider_id=auth_provider_id, ip=ip, user_agent=user_agent)
        reply: CompleteSsoLoginAsyncResponse = await self.call("complete_sso_login_async", request)
        return reply

    async def set_displayname(self, *, user_id: str, new_displayname: str) -> SetDisplaynameResponse:
        """SetDisplayname sets the display name of a local user, as an admin would."""
        request = SetDisplaynameRequest(user_id=user_id, new_displayname=new_displayname)
        reply: SetDisplaynameResponse = await self.call("set_displayname", request)
        return reply

    async def get_user_ip_and_agents(self, *, user_id: str, since_ts: int) -> GetUserIpAndAgentsResponse:
        """GetUserIpAndAgents returns the addresses and user agents that a local user was seen with; none for a user of another server."""
        request = GetUserIpAndAgentsRequest(user_id=user_id, since_ts=since_ts)
        reply: GetUserIpAndAgentsResponse = await self.call("get_user_ip_and_agents", request)
        return reply

    async def get_monthly_active_users_by_service(self, *, start_timestamp: int | None = None, end_timestamp: int | None = None) -> GetMonthlyActiveUsersByServiceResponse:
        """GetMonthlyActiveUsersByService returns the users that were active within a time, and the application service of each."""
        request = GetMonthlyActiveUsersByServiceRequest(start_timestamp=start_timestamp, end_timestamp=end_timestamp)
        reply: GetMonthlyActiveUsersByServiceResponse = await self.call("get_monthly_active_users_by_service", request)
        return reply

    async def store_remote_3pid_association(self, *, user_id: str, medium: str, address: str, id_server: str) -> StoreRemote3PidAssociationResponse:
        """StoreRemote3PidAssociation records that an identity server bound a third-party identifier to a user."""
        request = StoreRemote3PidAssociationRequest(user_id=user_id, medium=medium, address=address, id_server=id_server)
        reply: StoreRemote3PidAssociationResponse = await self.call("store_remote_3pid_association", request)
        return reply

    async def get_room_state(self, *, room_id: str, event_filter: list[StateEventType] | None = None) -> GetRoomStateResponse:
        """GetRoomState returns the current state of a room."""
        request = GetRoomStateRequest(room_id=room_id, event_filter=event_filter or [])
        reply: GetRoomStateResponse = await self.call("get_room_state", request)
        return reply

    async def get_state_events_in_room(self, *, room_id: str, types: list[StateEventType] | None = None) -> GetStateEventsInRoomResponse:
        """GetStateEventsInRoom returns state events of a room."""
        request = GetStateEventsInRoomRequest(room_id=room_id, types=types or [])
        reply: GetStateEventsInRoomResponse = await self.call("get_state_events_in_room", request)
        return reply

    async def create_and_send_event_into_room(self, *, event_dict: dict[str, Any] | None = None) -> CreateAndSendEventIntoRoomResponse:
        """CreateAndSendEventIntoRoom sends an event."""
        request = CreateAndSendEventIntoRoomRequest(event_dict=event_dict)
        reply: CreateAndSendEventIntoRoomResponse = await self.call("create_and_send_event_into_room", request)
        return reply

    async def update_room_membership(self, *, sender: str, target: str, room_id: str, new_membership: str, content: dict[str, Any] | None = None, remote_room_hosts: list[str] | None = None) -> UpdateRoomMembershipResponse:
        """UpdateRoomMembership changes a user's membership of a room."""
        request = UpdateRoomMembershipRequest(sender=sender, target=target, room_id=room_id, new_membership=new_membership, content=content, remote_room_hosts=remote_room_hosts or [])
        reply: UpdateRoomMembershipResponse = await self.call("update_room_membership", request)
        return reply

    async def create_room(self, *, user_id: str, config: dict[str, Any] | None = None, ratelimit: bool | None = None, creator_join_profile: dict[str, Any] | None = None) -> CreateRoomResponse:
        """CreateRoom creates a room."""
        request = CreateRoomRequest(user_id=user_id, config=config, ratelimit=ratelimit, creator_join_profile=creator_join_profile)
        reply: CreateRoomResponse = await self.call("create_room", request)
        return reply

    async def delete_room(self, *, room_id: str) -> DeleteRoomResponse:
        """DeleteRoom schedules a room to be shut down and purged, and does not wait for it."""
        request = DeleteRoomRequest(room_id=room_id)
        reply: DeleteRoomResponse = await self.call("delete_room", request)
        return reply

    async def lookup_room_alias(self, *, room_alias: str) -> LookupRoomAliasResponse:
        """LookupRoomAlias returns the room of an alias."""
        request = LookupRoomAliasRequest(room_alias=room_alias)
        reply: LookupRoomAliasResponse = await self.call("lookup_room_alias", request)
        return reply

    async def get_canonical_room_alias(self, *, room_id: str) -> GetCanonicalRoomAliasResponse:
        """GetCanonicalRoomAlias returns the canonical alias of a room."""
        request = GetCanonicalRoomAliasRequest(room_id=room_id)
        reply: GetCanonicalRoomAliasResponse = await self.call("get_canonical_room_alias", request)
        return reply

    async def room_is_in_public_room_list(self, *, room_id: str) -> RoomIsInPublicRoomListResponse:
        """RoomIsInPublicRoomList returns whether a room is in the room directory; false if it is unknown."""
        request = RoomIsInPublicRoomListRequest(room_id=room_id)
        reply: RoomIsInPublicRoomListResponse = await self.call("room_is_in_public_room_list", request)
        return reply

    async def add_room_to_public_room_list(self, *, room_id: str) -> AddRoomToPublicRoomListResponse:
        """AddRoomToPublicRoomList publishes a room in the room directory."""
        request = AddRoomToPublicRoomListRequest(room_id=room_id)
        reply: AddRoomToPublicRoomListResponse = await self.call("add_room_to_public_room_list", request)
        return reply

    async def remove_room_from_public_room_list(self, *, room_id: str) -> RemoveRoomFromPublicRoomListResponse:
        """RemoveRoomFromPublicRoomList takes a room out of the room directory."""
        request = RemoveRoomFromPublicRoomListRequest(room_id=room_id)
        reply: RemoveRoomFromPublicRoomListResponse = await self.call("remove_room_from_public_room_list", request)
        return reply

    async def send_local_online_presence_to(self, *, users: list[str] | None = None) -> SendLocalOnlinePresenceToResponse:
        """SendLocalOnlinePresenceTo sends users the presence of the local users that are online."""
        request = SendLocalOnlinePresenceToRequest(users=users or [])
        reply: SendLocalOnlinePresenceToResponse = await self.call("send_local_online_presence_to", request)
        return reply

    async def set_presence_for_users(self, *, users: dict[str, PresenceUpdate] | None = None) -> SetPresenceForUsersResponse:
        """SetPresenceForUsers sets the presence of local users."""
        request = SetPresenceForUsersRequest(users=users or {})
        reply: SetPresenceForUsersResponse = await self.call("set_presence_for_users", request)
        return reply

    async def send_http_push_notification(self, *, user_id: str, device_id: str | None = None, content: dict[str, Any] | None = None, tweaks: dict[str, Any] | None = None, default_payload: dict[str, Any] | None = None) -> SendHttpPushNotificationResponse:
        """SendHttpPushNotification sends a push notification to a local user's devices."""
        request = SendHttpPushNotificationRequest(user_id=user_id, device_id=device_id, content=content, tweaks=tweaks, default_payload=default_payload)
        reply: SendHttpPushNotificationResponse = await self.call("send_http_push_notification", request)
        return reply

    async def set_push_rule_action(self, *, user_id: str, scope: str, kind: str, rule_id: str, actions: list[str] | None = None) -> SetPushRuleActionResponse:
        """SetPushRuleAction changes what a push rule of a local user does."""
        request = SetPushRuleActionRequest(user_id=user_id, scope=scope, kind=kind, rule_id=rule_id, actions=actions or [])
        reply: SetPushRuleActionResponse = await self.call("set_push_rule_action", request)
        return reply

    async def send_mail(self, *, recipient: str, subject: str, html: str, text: str) -> SendMailResponse:
        """SendMail sends an email with the homeserver's settings."""
        request = SendMailRequest(recipient=recipient, subject=subject, html=html, text=text)
        reply: SendMailResponse = await self.call("send_mail", request)
        return reply

    async def send_federation_http_request(self, *, method: str, remote_server_name: str, path: str, query_parameters: dict[str, str] | None = None, body: dict[str, Any] | None = None, timeout: int | None = None) -> SendFederationHttpRequestResponse:
        """SendFederationHttpRequest sends a request to another server, signed with the homeserver's key."""
        request = SendFederationHttpRequestRequest(method=method, remote_server_name=remote_server_name, path=path, query_parameters=query_parameters or {}, body=body, timeout=timeout)
        reply: SendFederationHttpRequestResponse = await self.call("send_federation_http_request", request)
        return reply

    async def get_global(self, *, user_id: str, data_type: str) -> GetGlobalResponse:
        """GetGlobal returns account data of a local user."""
        request = GetGlobalRequest(user_id=user_id, data_type=data_type)
        reply: GetGlobalResponse = await self.call("get_global", request)
        return reply

    async def put_global(self, *, user_id: str, data_type: str, new_data: dict[str, Any] | None = None) -> PutGlobalResponse:
        """PutGlobal sets account data of a local user."""
        request = PutGlobalRequest(user_id=user_id, data_type=data_type, new_data=new_data)
        reply: PutGlobalResponse = await self.call("put_global", request)
        return reply

    async def get_external_ids_by_user(self, *, mxid: str) -> GetExternalIdsByUserResponse:
        """GetExternalIdsByUser returns the IDs of a local user at identity providers."""
        request = GetExternalIdsByUserRequest(mxid=mxid)
        reply: GetExternalIdsByUserResponse = await self.call("get_external_ids_by_user", request)
        return reply

    async def get_user_by_external_id(self, *, auth_provider: str, external_id: str) -> GetUserByExternalIdResponse:
        """GetUserByExternalId returns the local user with an ID at an identity provider."""
        request = GetUserByExternalIdRequest(auth_provider=auth_provider, external_id=external_id)
        reply: GetUserByExternalIdResponse = await self.call("get_user_by_external_id", request)
        return reply

    async def add_threepid(self, *, user_id: str, medium: str, address: str, validated_at: int) -> AddThreepidResponse:
        """AddThreepid adds to a local user a third-party identifier that the caller has verified: the homeserver does not verify it."""
        request = AddThreepidRequest(user_id=user_id, medium=medium, address=address, validated_at=validated_at)
        reply: AddThreepidResponse = await self.call("add_threepid", request)
        return reply

    async def get_users_paginate(self, *, start: int, limit: int, user_id: str | None = None, name: str | None = None, guests: bool | None = None, deactivated: bool | None = None, order_by: str | None = None, direction: str | None = None) -> GetUsersPaginateResponse:
        """GetUsersPaginate lists local users, a page at a time."""
        request = GetUsersPaginateRequest(start=start, limit=limit, user_id=user_id, name=name, guests=guests, deactivated=deactivated, order_by=order_by, direction=direction)
        reply: GetUsersPaginateResponse = await self.call("get_users_paginate", request)
        return reply

    async def deactivate_account(self, *, user_id: str, erase_data: bool = False) -> DeactivateAccountResponse:
        """DeactivateAccount deactivates a local user, as an admin would: the user is logged out, and leaves all rooms, perhaps only after the reply."""
        request = DeactivateAccountRequest(user_id=user_id, erase_data=erase_data)
        reply: DeactivateAccountResponse = await self.call("deactivate_account", request)
        return reply

    async def create_registration_token(self, *, token: str, uses_allowed: int | None = None, expiry_time: int | None = None) -> CreateRegistrationTokenResponse:
        """CreateRegistrationToken creates a token that clients can register users with, where the homeserver wants one."""
        request = CreateRegistrationTokenRequest(token=token, uses_allowed=uses_allowed, expiry_time=expiry_time)
        reply: CreateRegistrationTokenResponse = await self.call("create_registration_token", request)
        return reply

    async def registration_token_is_valid(self, *, token: str) -> RegistrationTokenIsValidResponse:
        """RegistrationTokenIsValid returns whether a user could be registered with a token now."""
        request = RegistrationTokenIsValidRequest(token=token)
        reply: RegistrationTokenIsValidResponse = await self.call("registration_token_is_valid", request)
        return reply

    async def get_registration_tokens(self, *, valid: bool | None = None) -> GetRegistrationTokensResponse:
        """GetRegistrationTokens lists registration tokens."""
        request = GetRegistrationTokensRequest(valid=valid)
        reply: GetRegistrationTokensResponse = await self.call("get_registration_tokens", request)
        return reply

    async def delete_registration_token(self, *, token: str) -> DeleteRegistrationTokenResponse:
        """DeleteRegistrationToken deletes a registration token."""
        request = DeleteRegistrationTokenRequest(token=token)
        reply: DeleteRegistrationTokenResponse = await self.call("delete_registration_token", request)
        return reply

